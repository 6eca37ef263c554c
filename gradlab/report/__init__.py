"""What a person looks at: tables, figures and the page that holds them."""
