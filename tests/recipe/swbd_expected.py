"""What stage 0 of egs/swbd must make of the miniature tree; written by hand.

Under each recording: the end of the utterance's id, start and end in seconds, words.
"""

from __future__ import annotations

from typing import NamedTuple

SWITCHBOARD = """\
sw02001-A
000038-000114 0.375 1.143 hi um yeah
000191-000312 1.9055 3.1215 do you have a dog
000312-000440 3.1215 4.4015 -y time at all
000490-000689 4.9015 6.8855 i like story books
000786-000971 7.857625 9.713625 well it'n cold here
000971-001023 9.713625 10.225625 uh-huh
001087-001272 10.866 12.722 we ab- we went home
001348-001374 13.4845 13.7405 [noise]
001374-001470 13.7405 14.7005 that is right
001520-001642 15.2005 16.4165 my son plays ball
001739-001841 17.388625 18.412625 it rains a lot
001841-001892 18.412625 18.924625 uh-huh
001957-002046 19.565 20.461 them again [laughter]
002122-002186 21.2235 21.8635 oh i see
sw02001-B
000051-000109 0.513875 1.089875 yeah hi
000225-000353 2.254 3.534 two dogs and a cat
000353-000558 3.534 5.582 lem- is good
000655-000828 6.554125 8.282125 the yuppiedom of it all
000956-001007 9.562125 10.074125 uh-huh
001007-001187 10.074125 11.866125 i ammu-it- i do not know
001263-001359 12.628625 13.588625 [noise] what was that
001475-001539 14.75275 15.39275 so do we
001662-001713 16.620875 17.132875 uh-huh
001841-001963 18.412875 19.628875 not in the winter
001963-002084 19.628875 20.844875 come here sorry
002161-002238 21.607375 22.375375 it was fun
002354-002412 23.5395 24.1155 bye now
sw02005-A
000065-000148 0.65275 1.48475 how are you
000198-000301 1.98475 3.00875 i work for i b m
000301-000442 3.00875 4.41675 that is a b b c's show
000570-000730 5.69675 7.29675 we saw aids on the news
000794-000858 7.937125 8.577125 you know
000858-000909 8.577125 9.089125 uh-huh
001025-001147 10.25325 11.46925 my wife works too
001197-001319 11.96925 13.18525 i call at&t a lot
001319-001523 13.18525 15.23325 ex- now
001651-001735 16.51325 17.34525 three of us
001799-001920 17.985625 19.201625 the price is high
001920-001971 19.201625 19.713625 uh-huh
002088-002222 20.87775 22.22175 they moved to texas
002272-002349 22.72175 23.48975 it is late
sw02005-B
000079-000169 0.791625 1.687625 good and you
000266-000375 2.65975 3.74775 i used to teach
000375-000426 3.74775 4.25975 uh-huh
000490-000592 4.900125 5.924125 no i never did
000669-000713 6.686625 7.134625 [vocalized-noise] maybe
000713-000797 7.134625 7.966625 a big house
000847-000962 8.466625 9.618625 that sounds nice
001059-001149 10.59075 11.48675 we grow corn
001149-001232 11.48675 12.31875 in the fall
001296-001379 12.959125 13.791125 right right
001455-001558 14.553625 15.577625 he is nine now
001558-001609 15.577625 16.089625 uh-huh
001659-001761 16.589625 17.613625 i think so too
001859-001929 18.58575 19.28975 okay then
sw02006-A
000038-000121 0.375 1.207 hello there
000249-000351 2.487 3.511 what do you do
000351-000460 3.511 4.599 i drive a truck
000536-000587 5.3615 5.8735 uh-huh
000704-000832 7.037625 8.317625 all over the state
000832-000864 8.317625 8.637625 [laughter] yes
000961-001076 9.60975 10.76175 it pays the rent
001204-001262 12.04175 12.61775 you bet
001262-001371 12.61775 13.70575 since last year
001447-001536 14.46825 15.36425 some of them
001653-001736 16.528375 17.360375 not too bad
001736-001787 17.360375 17.872375 uh-huh
001884-001987 18.8445 19.8685 i cook at home
002115-002172 21.1485 21.7245 see you
sw02006-B
000051-000115 0.513875 1.153875 hi there
000179-000263 1.79425 2.62625 i sell cars
000263-000378 2.62625 3.77825 how long is that
000494-000539 4.942375 5.390375 oh my
000589-000813 5.890375 8.130375 really good
000813-000935 8.130375 9.346375 the roads are bad
001063-001114 10.626375 11.138375 uh-huh
001178-001293 11.77875 12.93075 we have two cars
001293-001370 12.93075 13.69875 one is red
001486-001563 14.862875 15.630875 sure it is
001613-001709 16.130875 17.090875 it broke down
001709-001805 17.090875 18.050875 and then what
001933-002035 19.330875 20.354875 i walk to work
002100-002176 20.99525 21.76325 good night
sw02167-A
000065-000142 0.65275 1.42075 is this on
000218-000327 2.18325 3.27125 can you hear me
000327-000410 3.27125 4.10325 i guess not
000460-000512 4.60325 5.11525 uh-huh
000609-000692 6.087375 6.919375 we can wait
000692-000788 6.919375 7.879375 a little more
000852-000954 8.51975 9.54375 it is so quiet
001031-001139 10.30625 11.39425 no one is there
001139-001165 11.39425 11.65025 hm
001215-001317 12.15025 13.17425 should i go on
001415-001530 14.146375 15.298375 the line is dead
001530-001613 15.298375 16.130375 hello hello
001677-001728 16.77075 17.28275 uh-huh
001805-001875 18.04525 18.74925 i give up
sw03001-A
000038-000108 0.375 1.079 yes hello
000158-000267 1.579 2.667 we like to fish
000267-000350 2.667 3.499 in the lake
000478-000529 4.779 5.291 uh-huh
000593-000696 5.931375 6.955375 bass and trout
000696-000811 6.955375 8.107375 early in the day
000927-001113 9.2715 11.1275 ab- cold
001163-001265 11.6275 12.6515 my dad did too
001265-001336 12.6515 13.3555 on a boat
001464-001566 14.6355 15.6595 i fell in once
001630-001713 16.299875 17.131875 it was deep
001713-001764 17.131875 17.643875 uh-huh
001881-001964 18.808 19.64 we eat them
002014-002084 20.14 20.794 good food
sw03001-B
000051-000141 0.513875 1.409875 i hike a lot
000238-000347 2.382 3.47 up in the hills
000347-000437 3.47 4.366 with my kids
000501-000590 5.006375 5.902375 they love it
000666-000718 6.664875 7.176875 uh-huh
000718-000807 7.176875 8.072875 no bears yet
000857-000928 8.572875 9.276875 one snake
001025-001102 10.249 11.017 [noise] it ran off
001102-001198 11.017 11.977 we take a map
001262-001339 12.617375 13.385375 a long day
001415-001504 14.147875 15.043875 my feet hurt
001504-001556 15.043875 15.555875 uh-huh
001606-001702 16.055875 17.015875 you should go
001799-001869 17.988 18.692 some time
sw04940-A
000065-000148 0.65275 1.48475 who is this
000276-000347 2.76475 3.46875 i am jane
000347-000456 3.46875 4.55675 we talk of food
000532-000583 5.31925 5.83125 uh-huh
000700-000802 6.995375 8.019375 bread and soup
000802-000917 8.019375 9.171375 i bake on sunday
001014-001130 10.1435 11.2955 with real butter
001258-001360 12.5755 13.5995 it smells good
001360-001462 13.5995 14.6235 my mom says so
001539-001686 15.386 16.858 sp- some salt
001802-001885 18.022125 18.854125 not so much
001885-001937 18.854125 19.366125 uh-huh
002034-002136 20.33825 21.36225 he eats it all
002264-002354 22.64225 23.53825 that was fun
sw04940-B
000079-000162 0.791625 1.623625 this is bob
000226-000342 2.264 3.416 nice to meet you
000342-000444 3.416 4.44 i can not cook
000560-000650 5.604125 6.500125 pizza mostly
000700-000751 7.000125 7.512125 uh-huh
000751-000854 7.512125 8.536125 from the store
000982-001084 9.816125 10.840125 i should learn
001148-001225 11.4805 12.2485 is it hard
001225-001327 12.2485 13.2725 how much flour
001444-001476 14.436625 14.756625 wow
001526-001609 15.256625 16.088625 okay i will
001609-001660 16.088625 16.600625 uh-huh
001788-001890 17.880625 18.904625 thank you jane
001955-002012 19.545 20.121 bye bye
"""

# With the times to decode; those of the evaluation follow the id.
EVAL2000 = """\
en_4156-A
000005-000125 0.0 1.25 he is a cook
000125-000275 1.25 2.81 uh yes i guess
000287-000495 2.81 5.025 wait we all went home
000566-000700 5.63 7.1 th- that is nice
en_4156-B
000040-000160 0.3 1.7 i b m is big
000200-000270 1.9 2.8 uh-huh
000400-000550 3.9 5.6 they're in the lake
000610-000675 6.0 6.85 right
en_4910-A
000030-000180 0.2 1.9 my mom likes it
000230-000340 2.2 3.5 it is cold
000390-000540 3.8 5.5 hello this is bob
en_4910-B
000090-000230 0.8 2.3 what do you do
000230-000360 2.3 3.7 i sell cars
000550-000640 5.4 6.5 oh uh sure
sw_4390-A
000050-000150 0.4 1.6 we like corn
000210-000360 2.0 3.7 it grows in the fall
000400-000480 3.9 4.9 uh-huh
000500-000660 4.9 6.7 and then they moved
sw_4390-B
000020-000120 0.1 1.3 oh really
000170-000250 1.6 2.6 mhm
000370-000490 3.6 5.0 how long ago
sw_4484-A
000010-000170 0.0 1.8 two dogs and a cat
000230-000330 2.2 3.4 sure it is
000440-000590 4.3 6.0 i walk to work
sw_4484-B
000100-000220 0.9 2.3 do you cook
000320-000440 3.1 4.5 not too bad
000600-000690 5.9 7.0 bye bye
"""

RT03 = """\
fsh_60262-A
000040-000127 0.4 1.27 i do
000210-000355 2.1 3.55 we went home
000355-000420 3.55 4.2
000460-000590 4.6 5.9 it is quiet
fsh_60262-B
000015-000140 0.15 1.4 hello there
000190-000310 1.9 3.1 yes maybe
000430-000560 4.3 5.6 yeah go on
sw_45097-A
000035-000160 0.35 1.6 the roads are bad
000220-000330 2.2 3.3 one is red
000460-000615 4.6 6.15 no one is there
sw_45097-B
000080-000150 0.8 1.5 uh-huh
000250-000390 2.5 3.9 she said so
000490-000630 4.9 6.3 we take a map
"""

RT03_GENDERS = "fsh_60262-A m\nfsh_60262-B f\nsw_45097-A f\nsw_45097-B m\n"

EVAL2000_STM = """\
;; CATEGORY "0" "" ""
;; LABEL "O" "Overall" "The whole set"
;; LABEL "en" "en" "en"
;; LABEL "F" "F" "F"
;; LABEL "en-F" "en-F" "en-F"
;; LABEL "M" "M" "M"
;; LABEL "en-M" "en-M" "en-M"
;; LABEL "sw" "sw" "sw"
;; LABEL "sw-M" "sw-M" "sw-M"
;; LABEL "sw-F" "sw-F" "sw-F"
en_4156 A en_4156_A 0.05 1.25 <O,en,F,en-F>  HE IS A COOK
en_4156 A en_4156_A 1.25 2.75 <O,en,F,en-F>  (%HESITATION) YES (I GUESS)
en_4156 A en_4156_A 2.87 4.95 <O,en,F,en-F>   WAIT  WE ALL WENT HOME
en_4156 A en_4156_A 5.10 5.60 <O,en,F,en-F>  IGNORE_TIME_SEGMENT_IN_SCORING
"""  # its beginning

RT03_STM = """\
fsh_60262 A fsh_60262_A 0.4 1.27 <O,FI,M,STANDARD>  I DO
fsh_60262 A fsh_60262_A 2.1 3.55 <O,FI,M,STANDARD>  WE WENT (HOME)
fsh_60262 A fsh_60262_A 3.55 4.2 <O,FI,M,STANDARD>
fsh_60262 A fsh_60262_A 4.6 5.9 <O,FI,M,STANDARD>  IT IS QUIET
fsh_60262 B fsh_60262_B 0.15 1.4 <O,FI,F,STANDARD>  HELLO THERE
fsh_60262 B fsh_60262_B 1.9 3.1 <O,FI,F,STANDARD>  YES (MAYBE)
fsh_60262 B fsh_60262_B 4.3 5.6 <O,FI,F,STANDARD>   YEAH  GO ON
sw_45097 A sw_45097_A 0.35 1.6 <O,SW,F,STANDARD>  THE ROADS ARE BAD
sw_45097 A sw_45097_A 2.2 3.3 <O,SW,F,STANDARD>  ONE IS RED
sw_45097 A sw_45097_A 3.9 4.5 <O,SW,F,STANDARD>  IGNORE_TIME_SEGMENT_IN_SCORING
sw_45097 A sw_45097_A 4.6 6.15 <O,SW,F,STANDARD>  NO ONE IS THERE
sw_45097 B sw_45097_B 0.8 1.5 <O,SW,M,STANDARD>  UH-HUH
sw_45097 B sw_45097_B 2.5 3.9 <O,SW,M,STANDARD>  SHE SAID SO
sw_45097 B sw_45097_B 4.9 6.3 <O,SW,M,STANDARD>  WE TAKE A MAP
"""  # its segments

FISHER = """\
and i generally prefer
uh-huh
eating at home [laughter]
we met at 10: sharp
[noise] i have a d v d [noise]
do you [noise] have a t v
[noise]
tha- that is [noise] it
no [noise] pets at all
not even a fish
"""

# Of the table of callers; conversation 3001 is not in it.
CALLERS = {
    "sw02001-A": "1020", "sw02001-B": "1044", "sw02005-A": "1020", "sw02005-B": "1007",
    "sw02006-A": "1053", "sw02006-B": "1031", "sw02167-A": "1044", "sw03001-A": "sw03001-A",
    "sw03001-B": "sw03001-B", "sw04940-A": "1660", "sw04940-B": "1661",
}  # fmt: skip

COUNTS = {"Switchboard": 153, "eval2000": 27, "rt03": 13}
UH_HUH = 21  # utterances with this text


class Expected(NamedTuple):
    """An utterance."""

    recording: str
    start: str
    end: str
    text: str


def table(content: str) -> dict[str, Expected]:
    """Utterances by id, in the order of a data folder."""
    recording, rows = "", {}
    for line in content.splitlines():
        if " " not in line:
            recording = line
        else:
            times, start, end, *words = line.split(" ")
            rows[f"{recording}_{times}"] = Expected(recording, start, end, " ".join(words))
    return rows


def original_times(utterance: str) -> str:
    """Start and end of an evaluation's segment, of its id."""
    start, end = utterance.rsplit("_", 1)[1].split("-")
    return f"{int(start) / 100} {int(end) / 100}"
