"""What students check their homework with: `checks` for every assignment, a module for each that needs its own."""
