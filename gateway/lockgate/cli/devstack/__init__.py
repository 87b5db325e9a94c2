"""The development stack: Redis, an S3 server, the shop and the gateway under one supervisor."""
