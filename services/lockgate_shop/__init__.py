"""The services behind the gateway. Each keeps its own database and believes nothing but a valid signature."""
