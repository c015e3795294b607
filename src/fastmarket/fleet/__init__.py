"""Several servers behind one name: each answers for what any of them accepted. Needs `fastmarket[fleet]`."""
