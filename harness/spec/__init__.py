"""Documents: YAML text and the catalog in, frozen model values out, every problem with its place. See `load`, `find`, `schema`."""
