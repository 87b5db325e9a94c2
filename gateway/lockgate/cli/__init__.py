"""The command line: `lockgate serve · dev · keys · routes`."""
