"""Find recordings, plan their outputs and write them."""
