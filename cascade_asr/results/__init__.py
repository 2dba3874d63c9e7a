"""From decoded sets to tables, tests and reports."""
