"""Exact nearest neighbours at the price of coarse products: which rows are worth a closer look."""
