"""Plans, stages and selection of a cascade."""
