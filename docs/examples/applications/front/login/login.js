const form = document.getElementById('login')

// The gateway itself answers these two calls, on each host of a route.
form.onsubmit = async (event) => {
  event.preventDefault()
  const body = JSON.stringify({ username: form.username.value, password: form.password.value, mode: 'cookie' })
  const response = await fetch('/auth/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
  if (response.ok) location.assign('/')
  else document.getElementById('told').textContent = (await response.json()).detail ?? `Refused: ${response.status}`
}

document.getElementById('logout').onclick = async () => {
  await fetch('/auth/logout', { method: 'POST' })
  location.assign('/')
}
