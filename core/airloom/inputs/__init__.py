"""What becomes of a row's columns before they go into a graph: declared as data, done by one function for all."""
