"""HTTP on a link that says so: where messages begin and end, and faults that act per request. Not here: the control API."""
