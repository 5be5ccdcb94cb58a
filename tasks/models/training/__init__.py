"""How the project's own networks were made: synthesis of their material and their training. Not run in the product."""
