"""The locked requirements, and the programs that write and install them."""
