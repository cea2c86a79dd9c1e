"""What an operations person does with datasets, as operators."""
