"""Fault proxies. Here: the embedded server (`server`), the adapter that drives it or Shopify's, and its launcher."""
