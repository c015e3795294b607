"""The runner of the interoperability matrix, in parts."""
