"""What tests of the model server share."""
