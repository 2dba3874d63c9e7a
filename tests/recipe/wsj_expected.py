"""What stage 0 of egs/wsj must make of the miniature tree; written by hand.

Each line is an utterance and its text, below the speaker. The texts have the plain
normalisation; `CLEAN` has those that --clean-words changes.
"""

SI84 = """\
011
011c0201 THE BANK ROSE ,COMMA IT SAID .PERIOD
011c0202 "DOUBLE-QUOTE WE SOLD IT "DOUBLE-QUOTE
011c0203 SHARES THE FELL
011c0204 IT WAS *DECLINED* IN MAY
011c020a <NOISE> TEN PERCENT MORE
011c020b -DASH NO ONE KNEW
01i
01ic0201 OIL IS AT SIX POINT TWO
01ic0202 <NOISE>
01ic0203 THE SECU:RITY !BUT ONE OF US
01ic0204 HE -(RE)PORTED IN- A ~~ LOSS
01ic0205 A <NOISE> WEEK
022
022c0201 GOLD LOST A DOLLAR
022c0202 THEY MET ON MONDAY
022c0203 BOTH BANKS AGREED
022c0204 NO DEAL WAS MADE
"""

SI200 = """\
46a
46ac0201 RATES WERE CUT TODAY
46ac0202 THE FIRM HAS A PLAN
46ac0203 SALES DOUBLED IN JUNE
46ac0204 WE EXPECT A SMALL GAIN
46ac0205 TRADERS SOLD DOLLARS
46ac0206 MR. LEE WAS NOT THERE
46ac0207 IT WON'T BE EASY
46ac02az THE VOTE IS ON FRIDAY
47b
47bc0201 TWO PLANTS WILL CLOSE
47bc0202 A JUDGE SAID NO
47bc0301 STEEL IS CHEAP NOW
47bc0302 THE REST IS HISTORY
4a8
4a8c0201 I. B. M. ROSE A POINT
4a8c0202 BANKS WANT TO LEND
4a8c0203 CRUDE OIL FELL AGAIN
4a8c0204 THE BOARD MEETS SOON
4a8c0205 NOBODY WAS TOLD
4a8c0206 FORD MAKES FEWER CARS
4a8c0207 TAXES ARE TOO HIGH
4a8c0208 A THIRD BID FAILED
"""

TEXTS = {
    "train_si84": SI84,
    "train_si284": SI84 + SI200,
    "test_dev93": """\
4k0
4k0c0301 THE MARKET WAS CALM
4k0c0302 COSTS ROSE TEN PERCENT
4k0c0303 SHE LEFT THE BANK
4k3
4k3c0301 TRADING WAS LIGHT
4k3c0302 <NOISE> HE SOLD HIS SHARES
4k3c0303 LOANS ARE HARD TO GET
""",
    "test_dev93_5k": """\
4k0
4k0c0401 THE PRICE IS RIGHT
4k3
4k3c0401 PROFITS FELL BY HALF
""",
    "test_eval92": """\
440
440c0201 THE DEAL IS DONE
440c0202 WHEAT WAS MIXED
440c0203 MOST BONDS WERE LOWER
441
441c0201 NINE PEOPLE WERE HURT
441c0202 HE IS THE NEW CHAIRMAN
441c0203 STOCKS CLOSED HIGHER
""",
    "test_eval92_5k": """\
440
440c0301 IT IS A GOOD YEAR
440c0302 THE DOLLAR WAS FIRM
""",
    "test_eval93": """\
4oa
4oac0201 GROWTH WAS SLOW
4oac0202 THE BOARD SAID SAID YES
4ob
4obc0201 THEY RAN OUT OF MONEY
4obc0202 COTTON ROSE SHARPLY
""",
    "test_eval93_5k": """\
4oa
4oac0301 NOTHING WAS DECIDED
4oac0302 THE TALKS GO ON
""",
    "dev_dt_20": """\
4k0
4k0c0301 THE MARKET WAS CALM
4k0c0302 COSTS ROSE TEN PERCENT
4k0c0303 SHE LEFT THE BANK
4k3
4k3c0301 TRADING WAS LIGHT
4k3c0302 <NOISE> HE SOLD HIS SHARES
4k3c0303 LOANS ARE HARD TO GET
4k3c030z THIS ONE IS IN NO INDEX
""",
    "dev_dt_05": """\
4k0
4k0c0401 THE PRICE IS RIGHT
4k0c0402 IN NO INDEX EITHER
4k3
4k3c0401 PROFITS FELL BY HALF
""",
}

COUNTS = {
    "train_si84": 15, "train_si284": 35, "test_dev93": 6, "test_dev93_5k": 2, "test_eval92": 6,
    "test_eval92_5k": 2, "test_eval93": 4, "test_eval93_5k": 2, "dev_dt_20": 7, "dev_dt_05": 3,
}  # fmt: skip

# spk2gender where all speakers are known; the training sets have none without more lists.
GENDERS = {
    "test_dev93": "4k0 f\n4k3 m\n",
    "test_dev93_5k": "4k0 f\n4k3 m\n",
    "test_eval92": "440 m\n441 f\n",
    "test_eval92_5k": "440 m\n",
    "test_eval93": "4oa f\n4ob m\n",
    "test_eval93_5k": "4oa f\n",
    "dev_dt_20": "4k0 f\n4k3 m\n",
    "dev_dt_05": "4k0 f\n4k3 m\n",
}

ALL_GENDERS = "011 f\n01i m\n022 m\n46a f\n47b m\n4a8 m\n"

CLEAN = {
    "011c0201": "THE BANK ROSE COMMA IT SAID PERIOD",
    "011c0202": "DOUBLE-QUOTE WE SOLD IT DOUBLE-QUOTE",
    "011c0204": "IT WAS DECLINED IN MAY",
    "011c020b": "DASH NO ONE KNEW",
    "01ic0203": "THE SECURITY BUT ONE OF US",
    "01ic0204": "HE PORTED IN A LOSS",
}

NEWSPAPER = """\
THE MARKET ROSE TODAY
PRICES FELL
TWO BANKS MERGED LAST WEEK
NO ONE WAS SURPRISED
STOCKS, BONDS AND GOLD WERE MIXED
"""


def table(name: str) -> dict[str, tuple[str, str]]:
    """Speaker and text of each utterance of a set."""
    speaker, rows = "", {}
    for line in TEXTS[name].splitlines():
        if " " not in line:
            speaker = line
        else:
            utterance, text = line.split(" ", 1)
            rows[utterance] = (speaker, text)
    return rows
