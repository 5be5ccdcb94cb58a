"""How the drum network was made: synthesis of its material and its training. Nothing here runs in the product."""
