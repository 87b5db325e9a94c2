"""The history of the products database's schema."""
