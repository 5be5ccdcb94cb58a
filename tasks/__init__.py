"""What is computed: one track through the chain, and the pure music algorithms and networks behind it."""
