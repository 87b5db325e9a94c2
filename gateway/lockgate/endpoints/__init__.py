"""What the gateway answers itself: thin calls from HTTP to the parts that know."""
