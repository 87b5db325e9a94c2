"""orders: what users bought, at the price of that moment."""
