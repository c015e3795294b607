"""Where connections come from: one folder for each transport, and one row in `table`."""
