"""The operator's view: metrics, access log, audit trail, traces, logs."""
