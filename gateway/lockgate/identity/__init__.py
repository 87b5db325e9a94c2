"""From the bytes of a credential to claims that were verified once."""
