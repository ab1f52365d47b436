"""What ranked lists are beside right: how much of the catalogue they show, how new, how varied, how fair they are."""
