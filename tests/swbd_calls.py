"""What is said in the miniature calls of Switchboard, eval2000, rt03 and Fisher.

The calls of Switchboard are as in the transcripts of 1998 (start, end and words of each
segment), except for the ids and the silence in between, which `swbd_tree` adds. They
contain every odd word form that the transcripts have. Sentences are our own.
"""

from __future__ import annotations

# By conversation and side; 2167B is silent throughout.
CALLS = {
    "2001A": """\
0.375000 1.143000 hi um yeah
1.905500 3.121500 do you have a dog
3.121500 4.401500 -[an]y time at all
4.901500 6.885500 i like [laughter-story] books
7.857625 9.713625 well [it'n/isn't] cold here
9.713625 10.225625 uh-huh
10.866000 12.722000 we ab[solute]- we went home
13.484500 13.740500 [noise]
13.740500 14.700500 that is right
15.200500 16.416500 my son plays ball
17.388625 18.412625 it rains a lot
18.412625 18.924625 uh-huh
19.565000 20.461000 them_1 again [laughter]
21.223500 21.863500 oh i see
""",
    "2001B": """\
0.513875 1.089875 yeah hi
2.254000 3.534000 two dogs and a cat
3.534000 5.582000 [lem[guini]-/linguini] is good
6.554125 8.282125 the {yuppiedom} of it all
9.562125 10.074125 uh-huh
10.074125 11.866125 i ammu[n]it- i do not know
12.628625 13.588625 [noise]- what was that
14.752750 15.392750 so do we
15.392750 15.648750 [silence] <b_aside> <e_aside>
16.620875 17.132875 uh-huh
18.412875 19.628875 not in the winter
19.628875 20.844875 <b_aside> come here <e_aside> sorry
21.607375 22.375375 it was fun
23.539500 24.115500 bye now
""",
    "2005A": """\
0.652750 1.484750 how are you
1.984750 3.008750 i work for IBM
3.008750 4.416750 that is a BBC's show
5.696750 7.296750 we saw AIDS on the news
7.937125 8.577125 you know
8.577125 9.089125 uh-huh
10.253250 11.469250 my wife works too
11.969250 13.185250 i call AT&T a lot
13.185250 15.233250 ex[specially]-/especially] now
16.513250 17.345250 three of us
17.985625 19.201625 the price is high
19.201625 19.713625 uh-huh
20.877750 22.221750 they moved to texas
22.721750 23.489750 it is late
""",
    "2005B": """\
0.791625 1.687625 good and you
2.659750 3.747750 i used to teach
3.747750 4.259750 uh-huh
4.900125 5.924125 no i never did
6.686625 7.134625 [vocalized-noise] maybe
7.134625 7.966625 a big house
8.466625 9.618625 that sounds nice
10.590750 11.486750 we grow corn
11.486750 12.318750 in the fall
12.959125 13.791125 right right
14.553625 15.577625 he is nine now
15.577625 16.089625 uh-huh
16.589625 17.613625 i think so too
18.585750 19.289750 okay then
""",
    "2006A": """\
0.375000 1.207000 hello there
2.487000 3.511000 what do you do
3.511000 4.599000 i drive a truck
5.361500 5.873500 uh-huh
7.037625 8.317625 all over the state
8.317625 8.637625 [laughter] yes
9.609750 10.761750 it pays the rent
12.041750 12.617750 you bet
12.617750 13.705750 since last year
14.468250 15.364250 some of them
16.528375 17.360375 not too bad
17.360375 17.872375 uh-huh
18.844500 19.868500 i cook at home
21.148500 21.724500 see you
""",
    "2006B": """\
0.513875 1.153875 hi there
1.794250 2.626250 i sell cars
2.626250 3.778250 how long is that
4.942375 5.390375 oh my
5.890375 8.130375 [laughter-really] [laughter-good]
8.130375 9.346375 the roads are bad
10.626375 11.138375 uh-huh
11.778750 12.930750 we have two cars
12.930750 13.698750 one is red
14.862875 15.630875 sure it is
16.130875 17.090875 it broke down
17.090875 18.050875 and then what
19.330875 20.354875 i walk to work
20.995250 21.763250 good night
""",
    "2167A": """\
0.652750 1.420750 is this on
2.183250 3.271250 can you hear me
3.271250 4.103250 i guess not
4.603250 5.115250 uh-huh
6.087375 6.919375 we can wait
6.919375 7.879375 a little more
8.519750 9.543750 it is so quiet
10.306250 11.394250 no one is there
11.394250 11.650250 hm
12.150250 13.174250 should i go on
14.146375 15.298375 the line is dead
15.298375 16.130375 hello hello
16.770750 17.282750 uh-huh
18.045250 18.749250 i give up
""",
    "2167B": "",
    "3001A": """\
0.375000 1.079000 yes hello
1.579000 2.667000 we like to fish
2.667000 3.499000 in the lake
4.779000 5.291000 uh-huh
5.931375 6.955375 bass and trout
6.955375 8.107375 early in the day
9.271500 11.127500 [laughter-ab[solute]-] cold
11.627500 12.651500 my dad did too
12.651500 13.355500 on a boat
14.635500 15.659500 i fell in once
16.299875 17.131875 it was deep
17.131875 17.643875 uh-huh
18.808000 19.640000 we eat them
20.140000 20.844000 good food
""",
    "3001B": """\
0.513875 1.409875 i hike a lot
2.382000 3.470000 up in the hills
3.470000 4.366000 with my kids
5.006375 5.902375 they love it
6.664875 7.176875 uh-huh
7.176875 8.072875 no bears yet
8.572875 9.276875 one snake
10.249000 11.017000 [noise] it ran off
11.017000 11.977000 we take a map
12.617375 13.385375 a long day
14.147875 15.043875 my feet hurt
15.043875 15.555875 uh-huh
16.055875 17.015875 you should go
17.988000 18.692000 some time
""",
    "4940A": """\
0.652750 1.484750 who is this
2.764750 3.468750 i am jane
3.468750 4.556750 we talk of food
5.319250 5.831250 uh-huh
6.995375 8.019375 bread and soup
8.019375 9.171375 i bake on sunday
10.143500 11.295500 with real butter
12.575500 13.599500 it smells good
13.599500 14.623500 my mom says so
15.386000 16.858000 sp[ecific]- some salt
18.022125 18.854125 not so much
18.854125 19.366125 uh-huh
20.338250 21.362250 he eats it all
22.642250 23.538250 that was fun
""",
    "4940B": """\
0.791625 1.623625 this is bob
2.264000 3.416000 nice to meet you
3.416000 4.440000 i can not cook
5.604125 6.500125 pizza mostly
7.000125 7.512125 uh-huh
7.512125 8.536125 from the store
9.816125 10.840125 i should learn
11.480500 12.248500 is it hard
12.248500 13.272500 how much flour
14.436625 14.756625 wow
15.256625 16.088625 okay i will
16.088625 16.600625 uh-huh
17.880625 18.904625 thank you jane
19.545000 20.121000 bye bye
""",
}

# As the dictionary beside the transcripts: acronyms are words spoken as letters.
DICTIONARY = """\
# SWITCHBOARD dictionary, a few words of it

AIDS ey d z
AT&T ey t iy ax n t iy
BBC's b iy b iy s iy z
IBM ay b iy eh m
a ax
dog d ao g
i ay
yeah y ae
"""

# Callers of the two sides; 3001 is missing, 1020 calls twice.
CONV_TAB = """\
2001,Y,1020,1044,303,0,910304,1218,1222, ,
2005,Y,1020,1007,310,0,910305,1101,1106, ,
2006,Y,1053,1031,310,0,910305,1412,1417, ,
2167,N,1044,1008,321,0,910322,0930,0935, ,
4940,Y,1660,1661,350,0,920415,2010,2016, ,
"""

EVAL2000_STM = """\
;; CATEGORY "0" "" ""
;; LABEL "O" "Overall" "The whole set"
en_4156 A en_4156_A 0.05 1.25 <O,en,F,en-F>  HE IS A COOK
en_4156 A en_4156_A 1.25 2.75 <O,en,F,en-F>  (%HESITATION) YES ((I GUESS))
en_4156 A en_4156_A 2.87 4.95 <O,en,F,en-F>  <B_ASIDE> WAIT <E_ASIDE> WE ALL WENT HOME
en_4156 A en_4156_A 5.10 5.60 <O,en,F,en-F>  IGNORE_TIME_SEGMENT_IN_SCORING
en_4156 A en_4156_A 5.66 7.00 <O,en,F,en-F>  (TH-) THAT IS NICE
en_4156 B en_4156_B 0.40 1.60 <O,en,M,en-M>  I. B. M. IS BIG
en_4156 B en_4156_B 2.00 2.70 <O,en,M,en-M>  UH-HUH
en_4156 B en_4156_B 4.00 5.50 <O,en,M,en-M>  THEY'RE IN THE LAKE
en_4156 B en_4156_B 6.10 6.75 <O,en,M,en-M>  RIGHT
en_4910 A en_4910_A 0.30 1.80 <O,en,F,en-F>  MY MOM LIKES IT
en_4910 A en_4910_A 2.30 3.40 <O,en,F,en-F>  IT IS COLD
en_4910 A en_4910_A1 3.90 5.40 <O,en,M,en-M>  HELLO THIS IS BOB
en_4910 B en_4910_B 0.90 2.30 <O,en,F,en-F>  WHAT DO YOU DO
en_4910 B en_4910_B 2.30 3.60 <O,en,F,en-F>  I SELL CARS
en_4910 B en_4910_B 5.50 6.40 <O,en,F,en-F>  OH (UH) SURE
sw_4390 A sw_4390_A 0.50 1.50 <O,sw,M,sw-M>  WE LIKE CORN
sw_4390 A sw_4390_A 2.10 3.60 <O,sw,M,sw-M>  IT GROWS IN THE FALL
sw_4390 A sw_4390_A 4.00 4.80 <O,sw,M,sw-M>  UH-HUH
sw_4390 A sw_4390_A 5.00 6.60 <O,sw,M,sw-M>  AND THEN THEY MOVED
sw_4390 B sw_4390_B 0.20 1.20 <O,sw,M,sw-M>  OH REALLY
sw_4390 B sw_4390_B 1.70 2.50 <O,sw,M,sw-M>  MHM
sw_4390 B sw_4390_B 3.70 4.90 <O,sw,M,sw-M>  HOW LONG AGO
sw_4484 A sw_4484_A 0.10 1.70 <O,sw,F,sw-F>  TWO DOGS AND A CAT
sw_4484 A sw_4484_A 2.30 3.30 <O,sw,F,sw-F>  SURE IT IS
sw_4484 A sw_4484_A 4.40 5.90 <O,sw,F,sw-F>  I WALK TO WORK
sw_4484 B sw_4484_B 1.00 2.20 <O,sw,F,sw-F>  DO YOU COOK
sw_4484 B sw_4484_B 3.20 4.40 <O,sw,F,sw-F>  NOT TOO BAD
sw_4484 B sw_4484_B 6.00 6.90 <O,sw,F,sw-F>  BYE BYE
"""

# Conversations by file; in the stm files of rt03 sides are 1 and 2, and gaps are listed.
RT03_STM = {
    "fsh_60262": """\
;; CATEGORY "0" "" ""
;; LABEL "O" "Overall" "Overall"
;; LABEL "FI" "Fisher" "Fisher calls"
fsh_60262 1 inter_segment_gap 0 0.4 <O,FI,M,STANDARD>
fsh_60262 1 fsh_60262_A 0.4  1.27 <O,FI,M,STANDARD>  I DO
fsh_60262 1 inter_segment_gap 1.27 2.1 <O,FI,M,STANDARD>
fsh_60262 1 fsh_60262_A 2.1 3.55 <O,FI,M,STANDARD>  WE WENT (HOME)
fsh_60262 1 fsh_60262_A 3.55 4.2 <O,FI,M,STANDARD>
fsh_60262 1 fsh_60262_A 4.6 5.9 <O,FI,M,STANDARD>  IT IS QUIET
fsh_60262 2 fsh_60262_B 0.15 1.4 <O,FI,F,STANDARD>  HELLO THERE
fsh_60262 2 fsh_60262_B 1.9 3.1 <O,FI,F,STANDARD>  YES ((MAYBE
fsh_60262 2 fsh_60262_B 4.3 5.6 <O,FI,F,STANDARD>  <B_ASIDE> YEAH <E_ASIDE> GO ON
""",
    "sw_45097": """\
;; CATEGORY "0" "" ""
;; LABEL "O" "Overall" "Overall"
;; LABEL "SW" "Switchboard" "Switchboard calls"
sw_45097 1 sw_45097_A 0.35 1.6 <O,SW,F,STANDARD>  THE ROADS ARE BAD
sw_45097 1 sw_45097_A 2.2 3.3 <O,SW,F,STANDARD>  ONE IS RED
sw_45097 1 sw_45097_A 3.9 4.5 <O,SW,F,STANDARD>  IGNORE_TIME_SEGMENT_IN_SCORING
sw_45097 1 sw_45097_A 4.6 6.15 <O,SW,F,STANDARD>  NO ONE IS THERE
sw_45097 2 sw_45097_B 0.8 1.5 <O,SW,M,STANDARD>  UH-HUH
sw_45097 2 inter_segment_gap 1.5 2.5 <O,SW,M,STANDARD>
sw_45097 2 sw_45097_B 2.5 3.9 <O,SW,M,STANDARD>  SHE SAID SO
sw_45097 2 sw_45097_B 4.9 6.3 <O,SW,M,STANDARD>  WE TAKE A MAP
""",
}

# Rules of both evaluations, a few of them, in the format of NIST's files.
GLM = """\
;; Rules for the miniature
* name "miniature.glm"
* desc "a few rules"
* format = 'NIST1'
* max_nrules = '100'
* copy_no_hit = 'T'
* case_sensitive = 'F'
[THEY'RE] => [{THEY'RE / THEY ARE}] / [ ] __ [ ]
[UH] => [%HESITATION] / [ ] __ [ ]
[MHM] => [%BCACK] / [ ] __ [ ]
[UH-HUH] => [%BCACK] / [ ] __ [ ]
[I.] => [I] / [ ] __ [ ]
[B.] => [B] / [ ] __ [ ]
[M.] => [M] / [ ] __ [ ]
"""

FISHER = {
    "fe_03_p1_tran/data/trans/000/fe_03_00001.txt": """\
# fe_03_00001.sph
# Transcribed at the LDC

3.76 5.54 A: and i generally prefer
4.30 4.90 B: uh-huh

5.80 7.02 B: eating at home [laugh]
7.38 8.78 A: (( yeah i )) do too
9.01 9.80 A: we met at 10: sharp
""",
    "fe_03_p1_tran/data/trans/000/fe_03_00004.txt": """\
# fe_03_00004.sph
# Transcribed by BBN/WordWave

0.00 1.25 B: [sigh] i have a d._v._d. [lipsmack]
1.40 2.60 A: do you [cough] have -- a t._v.
2.70 3.10 A: [mn]
3.20 4.00 B: [[skip]]
4.10 5.20 B: tha- that is [breath] it
""",
    "fe_03_p2_tran/data/trans/058/fe_03_05851.txt": """\
# fe_03_05851.sph
# Transcribed at the LDC

12.26 13.90 A: no [noise] pets at all
14.00 15.10 B: not even a fish
15.20 16.00 B: [german] gesundheit
""",
}
