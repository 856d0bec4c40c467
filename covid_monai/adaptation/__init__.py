"""A bundle for one hospital, made from another bundle and images of that hospital."""
