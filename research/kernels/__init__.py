"""Forms of an operation that one platform computes faster, and the choice between them."""
