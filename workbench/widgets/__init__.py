"""Views over the package: discover, steer, personalise, inspect. No method logic inside."""
