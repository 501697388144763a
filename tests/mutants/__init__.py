"""A sampled mutation test of the core: small random changes of the code, each of which some test has to notice."""
