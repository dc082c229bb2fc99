// One radix-2 stage of all lanes, decimation in frequency: points DELAY apart become their half sum and, DELAY points later,
// their half difference times e^(-2 pi i n / (2 DELAY)). One point of each lane comes in and goes out in each enabled cycle.
module radix2 #(
    parameter DELAY = 4,
    parameter LANES = 8,
    parameter W = 27,
    parameter FILE = "tables/root_8.hex"  // of 2 DELAY points; not read for a DELAY of 1
) (
    input clk,
    input rst,
    input en,
    input bypass,  // steady while frames are under way
    input first,  // x is the first point of a frame
    input [LANES*2*W-1:0] x,
    output reg first_out,
    output reg [LANES*2*W-1:0] y
);
    localparam LOG = $clog2(DELAY);
    localparam ADDRESS = LOG > 0 ? LOG : 1;

    reg [LOG:0] count;
    reg armed;  // the first sum of a frame has not come yet
    wire [LOG:0] now = first ? {LOG + 1{1'b0}} : count;
    wire second = now[LOG];
    wire [ADDRESS-1:0] at = DELAY > 1 ? now[ADDRESS-1:0] : 1'b0;

    reg [LANES*2*W-1:0] delay[0:DELAY-1];
    wire [LANES*2*W-1:0] earlier = delay[at];
    wire [LANES*2*W-1:0] sums, differences;
    genvar i;
    generate
        for (i = 0; i < 2 * LANES; i = i + 1) begin : part
            wire signed [W-1:0] a = earlier[i*W+:W];
            wire signed [W-1:0] b = x[i*W+:W];
            wire signed [W:0] sum = a + b + 1;
            wire signed [W:0] difference = a - b + 1;
            assign sums[i*W+:W] = sum[W:1];
            assign differences[i*W+:W] = difference[W:1];
        end
    endgenerate

    reg [LANES*2*W-1:0] out;
    reg out_first;
    always @(posedge clk) begin
        if (en) begin
            delay[at] <= second ? differences : x;
            out <= second ? sums : earlier;
            out_first <= second & (at == 0) & armed;
            count <= now + 1'b1;
            // A stage that was passed by knows nothing of frames when it is not any more.
            armed <= !bypass & (first | (armed & !(second & (at == 0))));
        end
        if (rst) begin
            armed <= 0;
            out_first <= 0;
        end
    end

    wire [LANES*2*W-1:0] turned;
    wire turned_first;
    generate
        if (DELAY > 1) begin : turn
            reg [35:0] roots[0:DELAY-1];
            initial $readmemh(FILE, roots);
            reg [35:0] root;
            reg [2:0] firsts;
            always @(posedge clk) begin
                if (en) begin
                    root <= second ? {18'd65536, 18'd0} : roots[at];
                    firsts <= {firsts[1:0], out_first};
                end
                if (rst) firsts <= 0;
            end
            assign turned_first = firsts[2];
            for (i = 0; i < LANES; i = i + 1) begin : lane
                rotate #(.W(W)) rotate (
                    .clk(clk), .en(en), .re(out[2*i*W+:W]), .im(out[(2*i+1)*W+:W]), .root(root),
                    .re_out(turned[2*i*W+:W]), .im_out(turned[(2*i+1)*W+:W])
                );
            end
        end else begin : straight
            assign turned = out;
            assign turned_first = out_first;
        end
    endgenerate

    always @(posedge clk) begin
        if (en) begin
            y <= bypass ? x : turned;
            first_out <= bypass ? first : turned_first;
        end
        if (rst) first_out <= 0;
    end
endmodule
