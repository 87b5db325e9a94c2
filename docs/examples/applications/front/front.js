const find = (id) => document.getElementById(id)
const add = (list, text) => list.appendChild(document.createElement('li')).append(text)

// The browser adds the session cookie, and Origin to what changes something.
async function showNotes() {
  const response = await fetch('/api/notes')
  if (response.status === 401) {
    find('user').innerHTML = '<a href="/login/">Log in</a>'
    return false
  }
  const { user, notes } = await response.json()
  find('user').textContent = `API: you are ${user}`
  find('notes').replaceChildren()
  for (const note of notes) add(find('notes'), note)
  return true
}

function openSocket() {
  const socket = new WebSocket(`wss://${location.host}/live`)
  socket.onmessage = ({ data }) => add(find('live'), data)
  // Closed with 4401 after five minutes at most, and with 1012 at a restart: open it again. 4403: the session has ended.
  socket.onclose = ({ code }) => code === 4403 ? location.reload() : setTimeout(openSocket, 1000)
  find('say').onsubmit = (event) => {
    event.preventDefault()
    socket.send(event.target.text.value)
    event.target.reset()
  }
}

find('note').onsubmit = async (event) => {
  event.preventDefault()
  const body = JSON.stringify({ text: event.target.text.value })
  await fetch('/api/notes', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
  event.target.reset()
  await showNotes()
}

if (await showNotes()) {
  for (const form of [find('note'), find('say')]) form.hidden = false
  openSocket()
}
