"""What an operator sees: metrics, access log, logs."""
