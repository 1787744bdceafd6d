"""A day in the city: bills are looked up and paid through both doors, and in the evening all books agree."""
