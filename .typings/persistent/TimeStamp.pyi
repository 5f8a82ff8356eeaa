from persistent.timestamp import TimeStamp as TimeStamp
