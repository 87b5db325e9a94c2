"""products: the catalogue, its prices, and the stock that is never sold twice."""
