"""Reading pickle streams without running them."""
