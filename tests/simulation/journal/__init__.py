"""The simulation with a journal: several lives of a service on one folder, with crashes between them."""
