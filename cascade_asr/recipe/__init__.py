"""Stages of a recipe: what each is made from, what it writes, and whether it is done."""
