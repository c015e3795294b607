"""Several servers behind one name: what one accepted the others answer for. Needs `fastmarket[fleet]`."""
