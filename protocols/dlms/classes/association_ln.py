"""
Association LN, class 15: the one method that a client needs, reply_to_HLS_authentication.

*Source*: IEC 62056-6-2 class_id 15, method 1; IEC 62056-5-3 clause 5.7 (HLS passes 3 and 4).
"""

from protocols.dlms.apdu import Attribute
from protocols.dlms.obis import ASSOCIATION

CLASS_ID = 15
REPLY_TO_HLS = Attribute(class_id=CLASS_ID, name=ASSOCIATION, index=1)
"""Parameter: octet string f(StoC), pass 3. Returns: octet string f(CtoS), pass 4."""
