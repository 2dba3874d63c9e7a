"""Stages of a recipe: what each is made from, what it leaves, and whether it is done."""
