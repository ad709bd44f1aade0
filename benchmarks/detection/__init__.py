"""How well guard tells a distiller from its benign twins: traffic made of real prompts, and what is made of
it.

Prompts are real; who asked them, when, from where and with which parameters is made up, and so are answers.
No open data has many conversations of each of many users: a simulated person is a mixture of persons. Whoever
quotes a figure from here says so.
"""
