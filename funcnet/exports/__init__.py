"""Networks in other forms: a package for each, and what they share. Imports all floors below."""
