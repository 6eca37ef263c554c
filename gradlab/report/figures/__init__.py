"""Every figure, drawn by seaborn and matplotlib; the only room that knows them."""
