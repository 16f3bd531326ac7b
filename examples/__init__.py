"""The bundled example: synthetic pairs with planted flaws, and what writes them."""
