"""What only a GPU can show: `make gpu-check`. Its checks run on a CPU as well, small, where a test calls them."""
